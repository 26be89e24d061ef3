-- Marks that were left in a store with this index, by which it knows that store again: see package registry. There is
-- one, but for the moment in which a new one takes its place.
create table marks (
	mark  text not null primary key,
	store text not null
) {without rowid};
