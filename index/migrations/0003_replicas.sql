-- Whether the store has the bytes, durably. It has those of blobs that were pushed as such. Those of manifests are
-- written once more if need be, so that nothing is wrong with not knowing.
alter table blobs add column stored boolean not null default false;
update blobs set stored = true where exists (select 1 from repository_blobs rb where rb.digest = blobs.digest);

-- From now on, blobs has a row for whatever a manifest names, also for layers that need not be here.
insert into blobs (digest, size, refs, seen_at)
select child, 0, count(*), 0 from manifest_refs
 where not exists (select 1 from blobs b where b.digest = manifest_refs.child)
 group by child;

-- Few at a time: to find the old ones, which a dead process has left, is to read them all.
alter table outbox add column posted_at bigint not null default 0;
