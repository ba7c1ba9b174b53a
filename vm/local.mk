# vm/ is the VM tables, placement and the VM port.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: vm/*.c, vm/*.h:
libringmaster_core_a_SOURCES += vm/converge.c
libringmaster_core_a_SOURCES += vm/converge.h
libringmaster_core_a_SOURCES += vm/failover.c
libringmaster_core_a_SOURCES += vm/outlook.c
libringmaster_core_a_SOURCES += vm/outlook.h
libringmaster_core_a_SOURCES += vm/place.c vm/place.h
libringmaster_core_a_SOURCES += vm/plan.c
libringmaster_core_a_SOURCES += vm/plan.h
libringmaster_core_a_SOURCES += vm/port.h
libringmaster_core_a_SOURCES += vm/version.c
libringmaster_core_a_SOURCES += vm/vm-apply.c
libringmaster_core_a_SOURCES += vm/vm-entry.c
libringmaster_core_a_SOURCES += vm/vm-entry.h
libringmaster_core_a_SOURCES += vm/vm-local.c
libringmaster_core_a_SOURCES += vm/vm-step.c
libringmaster_core_a_SOURCES += vm/vm.c
libringmaster_core_a_SOURCES += vm/vm.h

# L3, adapters: vm/io/*.c:
libringmaster_io_a_SOURCES += vm/io/domxml.c
libringmaster_io_a_SOURCES += vm/io/domxml.h
libringmaster_io_a_SOURCES += vm/io/libvirt.c
libringmaster_io_a_SOURCES += vm/io/libvirt.h
libringmaster_io_a_SOURCES += vm/io/virt.c vm/io/virt.h
libringmaster_io_a_SOURCES += vm/io/xml.c vm/io/xml.h
