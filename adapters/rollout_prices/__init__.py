"""What language models cost, from the library genai-prices (extra ``prices``)."""
