"""One function for each verb: read the arguments, call the pipeline, print."""
