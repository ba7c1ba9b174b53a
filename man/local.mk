# man/: a page per program, file and noun.
# To add one, add a line.

dist_man_MANS =
dist_man_MANS += man/clusterctl.8
dist_man_MANS += man/ringmasterd.8
dist_man_MANS += man/ringmaster.conf.5
