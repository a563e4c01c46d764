"""Models for use elsewhere: exporting them, comparing what was exported, timing the steps of an estimate."""
