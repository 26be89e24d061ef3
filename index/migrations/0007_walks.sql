-- Work that goes through the whole store, which one process at a time does, and the next one goes on with.
create table walks (
	task        text not null primary key,
	reached     text not null default '', -- what is behind it is done
	counts      text not null default '', -- JSON
	holder      text not null default '', -- the process that does it, until held_until
	held_until  bigint not null default 0,
	finished_at bigint -- null while there is something to do
) {without rowid};

insert into walks (task, finished_at)
select 'adoption', 0 where exists (select 1 from repositories)
 union all
select 'adoption', null where not exists (select 1 from repositories)
 union all
select 'verification', 0;

-- Repositories that an unfinished adoption has come to. Of those that are complete, the index has all there is.
create table adopted (
	repository text not null primary key,
	complete   boolean not null
) {without rowid};
