"""A character-level recurrent language model: prompt in, text out."""

from charlm.model import CharLM

__all__ = ["CharLM"]
