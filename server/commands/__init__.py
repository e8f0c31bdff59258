"""The coordinator's commands, from STUDY.yaml to the published folder. May import everything else in `server`."""
