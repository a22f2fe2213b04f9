"""Pure decisions: values in, values out. No I/O, no clock, no dice, no event loop."""
