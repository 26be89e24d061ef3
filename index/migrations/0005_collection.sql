-- What one process at a time does, and who does it until when.
create table leases (
	name       text not null primary key,
	holder     text not null,
	expires_at bigint not null
) {without rowid};

-- A blob with claimed_at is unreferenced and in no repository, and its bytes are being deleted: few at a time.
create index blobs_claimed on blobs (digest) where claimed_at is not null;

-- Since when a manifest may be untagged: see untagged.go. Null if it was found to be needed, by whatever will set this
-- when it goes.
alter table manifests add column untagged_at bigint;
update manifests set untagged_at = pushed_at
 where not exists (select 1 from tags t where t.repository_id = manifests.repository_id and t.digest = manifests.digest);
create index manifests_untagged on manifests (untagged_at) where untagged_at is not null;
