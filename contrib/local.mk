# contrib/: unit, sysusers, tmpfiles, examples, and the commands of the repository.
