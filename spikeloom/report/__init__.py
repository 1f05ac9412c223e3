"""From a run folder to one page that explains it."""
