"""Options of groups that are large; `config` puts all together and reads them."""
