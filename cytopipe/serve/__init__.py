"""Everything that listens on a port.

    listener      the HTTP server itself: time limits, connection limits, loopback only
    fence         which requests may pass, and how; the same fence stands before every server
    problem       what a refusal looks like (RFC 9457)
    artifacts     the files of the output root in a browser
    start_page    the first page of the web UI
    web_ui        `cytopipe ui`: Dagster's web server, our pages and the daemon
    atlas_api     `cytopipe atlas serve`: the results of atlases as JSON

Nothing here imports Dagster, but for `web_ui`, which starts Dagster's web server.
"""
