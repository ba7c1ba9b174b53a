# tests/lint: checks of the tree itself.
