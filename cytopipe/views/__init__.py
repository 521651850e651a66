"""Pages and notebook panels that show values: files without a server, and widgets."""
