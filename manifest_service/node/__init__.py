"""The compute node's side: what lies in Nova's `_base` folder, and whether it is what it should be.

`base_directory` tells files apart by their names as Nova does; `api_manifests` and `bundle` say what they should be
(`expectations`); `verification` finds out what they are, by the cheapest evidence there is, and gives a verdict;
`differences` says where they differ; `reports` tells the API, and `textfile` Prometheus. Files are read politely, and
nobody is trusted: not the files, nor what the API answers.
"""
