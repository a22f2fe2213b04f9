"""The aiohttp side: `setup`, the middleware, sealed requests and the client guard."""
