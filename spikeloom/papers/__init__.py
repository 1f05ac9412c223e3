"""One folder per paper: its networks, data, tasks and figures. Papers import the library, never each other."""
