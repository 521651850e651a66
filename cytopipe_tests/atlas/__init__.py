"""The atlas room: pseudobulk, bootstrap, activity, validation, API."""
