# tests/executors: the programs that rebuild nodes, with all around them played.

TESTS += tests/executors/test_in_place.py tests/executors/test_redfish.py
EXTRA_DIST += tests/executors/test_in_place.py tests/executors/test_redfish.py
