-- The bytes of an upload, as long as they are few and no part holds them.
alter table sessions add column data {bytes};
