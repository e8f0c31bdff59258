"""What a person sees and writes on their own machine: terminal, text files, folders, words.

No message passes through it.
"""
