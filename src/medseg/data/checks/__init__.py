"""What can be wrong with a cohort: one file per kind of check, put together by `medseg.data.verify`."""
