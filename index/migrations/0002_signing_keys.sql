-- Keys that sign tokens, for all servers of a registry. They are secret.
create table signing_keys (
	id      text not null primary key,
	key     {bytes} not null,
	made_at bigint not null
) {without rowid};
