"""A model's tokenizer: its files, texts to token ids and back, its chat template, and texts of a wanted length."""
