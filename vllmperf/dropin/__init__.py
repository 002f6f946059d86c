"""The drop-in command lines: foreign arguments in, foreign output out; thin."""
