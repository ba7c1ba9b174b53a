# man/: a page per program, file and noun.
