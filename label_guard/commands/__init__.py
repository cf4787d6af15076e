"""One file per subcommand of ``label-guard``; each is imported only when it runs."""
