"""The built-in algorithm beside ours: requests and jobs, and what AWS's own code makes of them.

`serving_cases` and `training_cases` are the table: each case is a request or a job. Where ours
differs on purpose, the case (of a job: `training_differences`) names the row of README's table
"Differences from the built-in algorithm" and what ours gives. `record` runs AWS's code on the same
cases and writes what it gives to `figures/`.
"""
