"""One file per experiment; the file name is the task's name. Files that begin with an underscore are shared parts."""
