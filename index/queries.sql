-- A query that only one of the databases has, or that differs, names its dialect. One without text does nothing there.

-- name: begin (sqlite)
begin immediate

-- name: begin (postgres)
begin isolation level read committed read write

-- name: settings (postgres)
select set_config('synchronous_commit', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)

-- name: commit
commit

-- name: rollback
rollback

-- Locks of PostgreSQL; see postgres.go. SQLite runs one transaction at a time.

-- name: keep-blob (sqlite)

-- name: keep-blob (postgres)
select 1 from blobs where digest = $1 for key share

-- name: hold-blob (sqlite)

-- name: hold-blob (postgres)
select 1 from blobs where digest = $1 for update

-- name: count-blob (sqlite)

-- name: count-blob (postgres)
select 1 from blobs where digest = $1 for no key update

-- name: hold-facts (sqlite)

-- name: hold-facts (postgres)
lock table repositories, blobs, repository_blobs, manifests, manifest_refs, tags, outbox in exclusive mode

-- name: blob
select b.size, b.refs, b.seen_at
  from repositories r
  join repository_blobs rb on rb.repository_id = r.id
  join blobs b on b.digest = rb.digest
 where r.name = $1 and rb.digest = $2

-- name: repository-id
select id from repositories where name = $1

-- name: add-repository
insert into repositories (name, created_at)
select $1, $2 where not exists (select 1 from repositories where name = $1) on conflict do nothing

-- name: add-blob
insert into blobs (digest, size, refs, seen_at, stored) values ($1, $2, 0, $3, $4)
    on conflict (digest) do update set size = excluded.size, seen_at = excluded.seen_at,
       stored = blobs.stored or excluded.stored
 where blobs.claimed_at is null
returning stored

-- name: add-known-blob
update blobs set seen_at = $2 where digest = $1 and stored and claimed_at is null

-- name: blob-is-stored
update blobs set stored = true where digest = $1 and not stored

-- name: link-blob
insert into repository_blobs (repository_id, digest)
select id, $2 from repositories where name = $1 on conflict do nothing

-- name: unlink-blob
delete from repository_blobs where repository_id = (select id from repositories where name = $1) and digest = $2

-- name: see-blob
update blobs set seen_at = $2 where digest = $1 and claimed_at is null

-- name: hold
select exists (select 1 from blobs b where b.digest = $1 and b.stored
                  and exists (select 1 from repository_blobs rb where rb.digest = b.digest)),
       exists (select 1 from blobs where digest = $1 and (claimed_at is not null or refs = 0 and seen_at < $2))

-- name: blob-size
select size from blobs where digest = $1 and stored and claimed_at is null

-- name: blob-linked-anywhere
select b.size, b.refs, b.seen_at from blobs b
 where b.digest = $1 and exists (select 1 from repository_blobs rb where rb.digest = b.digest)

-- name: blob-repositories
select r.name
  from repository_blobs rb
  join repositories r on r.id = rb.repository_id
 where rb.digest = $1
 order by rb.repository_id
 limit $2

-- name: add-ref
insert into blobs (digest, size, refs, seen_at, stored) values ($1, 0, 1, $2, false)
    on conflict (digest) do update set refs = blobs.refs + 1

-- name: drop-ref
update blobs set refs = refs - 1, seen_at = $2 where digest = $1

-- name: parent
select parent from manifest_refs
 where repository_id = (select id from repositories where name = $1) and child = $2 limit 1

-- name: manifest-by-tag
select m.digest, m.media_type, m.payload, m.subject
  from repositories r
  join tags t on t.repository_id = r.id
  join manifests m on m.repository_id = r.id and m.digest = t.digest
 where r.name = $1 and t.name = $2

-- name: manifest-by-digest
select m.digest, m.media_type, m.payload, m.subject
  from repositories r
  join manifests m on m.repository_id = r.id
 where r.name = $1 and m.digest = $2

-- name: has-blob
select 1 from repositories r join repository_blobs rb on rb.repository_id = r.id where r.name = $1 and rb.digest = $2

-- name: has-manifest
select r.id from repositories r join manifests m on m.repository_id = r.id where r.name = $1 and m.digest = $2

-- name: has-revision
select 1 from manifests where repository_id = $1 and digest = $2

-- name: has-child
select 1 from repositories r
 where r.name = $1
   and (exists (select 1 from manifests m where m.repository_id = r.id and m.digest = $2)
        or exists (select 1 from repository_blobs rb where rb.repository_id = r.id and rb.digest = $2))

-- name: insert-manifest
insert into manifests (repository_id, digest, media_type, payload, subject, artifact_type, annotations, config_digest,
       pushed_at, untagged_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: touch-manifest
update manifests set media_type = $3, artifact_type = $4, pushed_at = $5, untagged_at = $6
 where repository_id = $1 and digest = $2

-- name: delete-manifest
delete from manifests where repository_id = $1 and digest = $2

-- name: insert-ref
insert into manifest_refs (child, repository_id, parent) values ($1, $2, $3) on conflict do nothing

-- name: children
select child from manifest_refs where repository_id = $1 and parent = $2 order by child

-- name: delete-refs
delete from manifest_refs where repository_id = $1 and parent = $2

-- name: count-manifest
update repositories set manifests = manifests + $2 where id = $1

-- name: describe
update repositories set description = $2 where id = $1

-- name: untag-former (sqlite)
update manifests set untagged_at = $4
 where repository_id = $1 and digest = (select digest from tags where repository_id = $1 and name = $2) and digest <> $3

-- name: untag-former (postgres)
update manifests set untagged_at = $4
 where repository_id = $1 and digest = (select digest from tags where repository_id = $1 and name = $2 for update) and digest <> $3

-- name: untag-tagged (sqlite)
update manifests set untagged_at = $3
 where repository_id = (select id from repositories where name = $1)
   and digest = (select digest from tags
                  where repository_id = (select id from repositories where name = $1) and name = $2)

-- name: untag-tagged (postgres)
update manifests set untagged_at = $3
 where repository_id = (select id from repositories where name = $1)
   and digest = (select digest from tags
                  where repository_id = (select id from repositories where name = $1) and name = $2 for update)

-- name: untag-children
update manifests set untagged_at = $3
 where repository_id = $1 and digest in (select child from manifest_refs where repository_id = $1 and parent = $2)

-- name: untag-referrers
update manifests set untagged_at = $3 where repository_id = $1 and subject = $2

-- name: add-tag
insert into tags (repository_id, name, digest, updated_at) values ($1, $2, $3, $4) on conflict do nothing

-- name: move-tag
update tags set digest = $3, updated_at = $4 where repository_id = $1 and name = $2

-- name: delete-tag
delete from tags where repository_id = (select id from repositories where name = $1) and name = $2

-- name: delete-tags-of
delete from tags where repository_id = $1 and digest = $2 returning name

-- name: tags
select null as name from repositories where name = $1
 union all
select name from (
       select name from tags
        where repository_id = (select id from repositories where name = $1) and name > $2
        order by name limit $3) as page
 order by name

-- name: repositories
select name from repositories where manifests > 0 and name > $1 order by name limit $2

-- name: referrers
select m.digest, m.media_type, length(m.payload), m.artifact_type, m.annotations
  from manifests m
 where m.repository_id = (select id from repositories where name = $1)
   and m.subject = $2 and m.digest > $4 and ($3 = '' or m.artifact_type = $3)
 order by m.digest
 limit $5

-- name: search
select name, description, count(*) over ()
  from repositories
 where manifests > 0 and (lower(name) like $1 escape '\' or lower(description) like $1 escape '\')
 order by name
 limit $2 offset $3

-- name: search-between
select name, description
  from repositories
 where manifests > 0 and name >= $2 and name < $3
   and (lower(name) like $1 escape '\' or lower(description) like $1 escape '\')
 order by name
 limit $4

-- name: insert-session
insert into sessions (id, repository, algorithm, size, hash_state, data, started_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: session
select s.repository, s.algorithm, s.size, s.hash_state, s.data, s.started_at,
       exists (select 1 from blobs b where b.digest = $2 and b.stored
                  and exists (select 1 from repository_blobs rb where rb.digest = b.digest)),
       exists (select 1 from blobs where digest = $2 and (claimed_at is not null or refs = 0 and seen_at < $3))
  from sessions s
 where s.id = $1

-- name: session-parts
select s.repository, s.algorithm, s.size, s.hash_state, s.data, s.started_at,
       exists (select 1 from blobs b where b.digest = $2 and b.stored
                  and exists (select 1 from repository_blobs rb where rb.digest = b.digest)),
       exists (select 1 from blobs where digest = $2 and (claimed_at is not null or refs = 0 and seen_at < $3)), p.name
  from sessions s
  left join session_parts p on p.session_id = s.id
 where s.id = $1
 order by p.start

-- name: hold-bytes
update sessions set size = $3, data = $4, updated_at = $5 where id = $1 and size = $2

-- name: grow-session
update sessions set size = $3, hash_state = $4, data = null, updated_at = $5 where id = $1 and size = $2

-- name: insert-part
insert into session_parts (session_id, start, name) values ($1, $2, $3)

-- name: delete-session
delete from sessions where id = $1 and size = $2

-- name: delete-parts
delete from session_parts where session_id = $1

-- name: expired-sessions
select id, repository, size from sessions where updated_at < $1 order by updated_at limit $2

-- name: backlog
select (select count(*) from sessions), (select count(*) from outbox)

-- name: post
insert into outbox (repository, kind, ref, posted_at) values ($1, $2, $3, $4) returning id

-- name: outbox
select id, repository, kind, ref from outbox where id > $1 order by id limit $2

-- name: take-over (sqlite)
update outbox set posted_at = $2 where id in (select id from outbox where posted_at < $1 order by id limit $3)
returning id, repository, kind, ref

-- name: take-over (postgres)
update outbox set posted_at = $2
 where id in (select id from outbox where posted_at < $1 order by id limit $3 for update skip locked)
returning id, repository, kind, ref

-- name: layer-state
select rb.digest from repositories r join repository_blobs rb on rb.repository_id = r.id where r.name = $1 and rb.digest = $2

-- name: revision-state
select m.digest from repositories r join manifests m on m.repository_id = r.id where r.name = $1 and m.digest = $2

-- name: tag-state
select t.digest from repositories r join tags t on t.repository_id = r.id where r.name = $1 and t.name = $2

-- name: revision
select m.digest, m.payload, b.stored
  from repositories r
  join manifests m on m.repository_id = r.id
  join blobs b on b.digest = m.digest
 where r.name = $1 and m.digest = $2

-- name: settle
delete from outbox where id = $1

-- Collection. The locks are those of PostgreSQL; see postgres.go.

-- name: take-lease
insert into leases (name, holder, expires_at) values ($1, $2, $3)
    on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
 where leases.holder = excluded.holder or leases.expires_at <= $4

-- name: end-lease
delete from leases where name = $1 and holder = $2

-- name: hold-lease (sqlite)
select 1 from leases where name = $1 and holder = $2 and expires_at > $3

-- name: hold-lease (postgres)
select 1 from leases where name = $1 and holder = $2 and expires_at > $3 for share

-- name: clear-leases
delete from leases

-- name: queue
select count(*), coalesce(min(seen_at), 0), (select count(*) from blobs where claimed_at is not null) from blobs where refs = 0

-- name: garbage
select digest, size, seen_at from blobs
 where refs = 0 and claimed_at is null and seen_at < $1 and (seen_at, digest) > ($2, $3)
 order by seen_at, digest
 limit $4

-- name: hold-garbage (sqlite)
select digest from blobs where refs = 0 and claimed_at is null and seen_at < $1 order by seen_at, digest limit $2

-- name: hold-garbage (postgres)
select digest from blobs where refs = 0 and claimed_at is null and seen_at < $1 order by seen_at, digest limit $2
   for update skip locked

-- name: unsettled-digests
select distinct ref from outbox where kind in (1, 2)

-- name: claim-blob
update blobs set claimed_at = $2 where digest = $1

-- name: unlink-everywhere
delete from repository_blobs where digest = $1
returning (select name from repositories where id = repository_blobs.repository_id)

-- name: claimed
select digest, size from blobs where claimed_at is not null and digest > $1 order by digest limit $2

-- name: forget-blob
delete from blobs where digest = $1 and claimed_at is not null and refs = 0

-- name: forget-bytes
update blobs set claimed_at = null, stored = false where digest = $1 and claimed_at is not null

-- name: maybe-untagged
select r.id, r.name, m.digest, length(m.payload), m.untagged_at
  from manifests m join repositories r on r.id = m.repository_id
 where m.untagged_at < $1
 order by m.untagged_at
 limit $2

-- name: is-needed
select exists (select 1 from tags t where t.repository_id = m.repository_id and t.digest = m.digest)
       or exists (select 1 from manifest_refs f where f.child = m.digest and f.repository_id = m.repository_id)
       or exists (select 1 from manifests s where s.repository_id = m.repository_id and s.digest = m.subject)
  from manifests m
 where m.repository_id = $1 and m.digest = $2 and m.untagged_at = $3

-- name: note-needed
update manifests set untagged_at = null where repository_id = $1 and digest = $2 and untagged_at = $3

-- name: untagged
select r.name, m.digest, length(m.payload)
  from manifests m join repositories r on r.id = m.repository_id
 where m.untagged_at < $1
   and not exists (select 1 from tags t where t.repository_id = m.repository_id and t.digest = m.digest)
   and not exists (select 1 from manifest_refs f where f.child = m.digest and f.repository_id = m.repository_id)
   and not exists (select 1 from manifests s where s.repository_id = m.repository_id and s.digest = m.subject)
 order by r.name, m.digest

-- name: untagged-referrers
select r.name, m.digest, length(m.payload)
  from manifests m join repositories r on r.id = m.repository_id
 where r.name = $1 and m.subject = $2
   and not exists (select 1 from tags t where t.repository_id = m.repository_id and t.digest = m.digest)
   and not exists (select 1 from manifest_refs f where f.child = m.digest and f.repository_id = m.repository_id)
 order by m.digest

-- name: blobs
select digest, size, stored or exists (select 1 from repository_blobs rb where rb.digest = blobs.digest),
       claimed_at is not null
  from blobs
 where digest > $1
 order by digest
 limit $2

-- name: add-found-blob
insert into blobs (digest, size, refs, seen_at, stored) values ($1, $2, 0, $3, false) on conflict do nothing

-- name: signing-keys
select id, key from signing_keys

-- name: insert-signing-key
insert into signing_keys (id, key, made_at) values ($1, $2, $3) on conflict do nothing

-- name: delete-signing-key
delete from signing_keys where id = $1

-- name: marks
select mark, store from marks order by mark

-- name: insert-mark
insert into marks (mark, store) values ($1, $2) on conflict (mark) do update set store = excluded.store

-- name: delete-other-marks
delete from marks where mark <> $1

-- name: is-empty
select not exists (select 1 from repositories)

-- name: walk
select reached, counts, finished_at from walks where task = $1

-- name: begin-walk
update walks set reached = '', counts = '', finished_at = null where task = $1 and finished_at is not null

-- name: reset-walk
update walks set reached = '', counts = '', finished_at = null where task = $1

-- name: hold-walk
update walks set holder = $2, held_until = $4
 where task = $1 and finished_at is null and (holder = $2 or held_until < $3)
returning reached, counts, finished_at

-- name: advance-walk
update walks set reached = $3, counts = $4, held_until = $5 where task = $1 and holder = $2 and finished_at is null

-- name: leave-walk
update walks set held_until = 0 where task = $1 and holder = $2

-- name: finish-walk
update walks set reached = '', counts = $2, holder = '', held_until = 0, finished_at = $3 where task = $1

-- name: clear-adopted
delete from adopted

-- name: unadopted
select exists (select 1 from walks where task = 'adoption' and finished_at is null)
   and not exists (select 1 from adopted where repository = $1 and complete)

-- name: keep-adoption (sqlite)
select 1 from walks where task = 'adoption' and finished_at is null

-- name: keep-adoption (postgres)
select 1 from walks where task = 'adoption' and finished_at is null for share

-- name: hold-adopted
insert into adopted (repository, complete) values ($1, false)
    on conflict (repository) do update set complete = adopted.complete
returning complete

-- name: complete-adopted
update adopted set complete = true where repository = $1

-- name: describe-first
update repositories set description = $2 where id = $1 and description = ''

-- name: blob-is-shown
insert into blobs (digest, size, refs, seen_at, stored)
select $1, $2, 0, $3, true where not exists (select 1 from blobs where digest = $1 and stored)
    on conflict (digest) do update set size = excluded.size, stored = true where not blobs.stored

-- name: distrust-blob
update blobs set stored = false where digest = $1

-- name: blob-facts
select b.digest, b.size, b.stored, exists (select 1 from repository_blobs rb where rb.digest = b.digest)
  from blobs b where b.digest > $1 order by b.digest limit $2

-- name: blob-fact
select b.digest, b.size, b.stored, exists (select 1 from repository_blobs rb where rb.digest = b.digest)
  from blobs b where b.digest = $1

-- name: payload
select payload from manifests where digest = $1 limit 1

-- name: lose-bytes
update blobs set stored = false, claimed_at = $2 where digest = $1

-- name: bytes-are-gone
update blobs set claimed_at = null where digest = $1

-- name: bytes-are-found
update blobs set stored = true, claimed_at = null, size = $2 where digest = $1

-- name: resize-blob
update blobs set size = $2 where digest = $1

-- name: layer-entries
select digest from repository_blobs
 where repository_id = (select id from repositories where name = $1) and digest > $2 order by digest limit $3

-- name: revision-entries
select digest from manifests
 where repository_id = (select id from repositories where name = $1) and digest > $2 order by digest limit $3

-- name: tag-entries
select name from tags
 where repository_id = (select id from repositories where name = $1) and name > $2 order by name limit $3

-- name: all-repositories
select name from repositories where name > $1 order by name limit $2

-- name: posted
select 1 from outbox where repository = $1 and kind = $2 and ref = $3 limit 1

-- name: clear-outbox
delete from outbox

-- name: clear-tags
delete from tags

-- name: clear-manifest-refs
delete from manifest_refs

-- name: clear-manifests
delete from manifests

-- name: clear-repository-blobs
delete from repository_blobs

-- name: clear-blobs
delete from blobs

-- name: clear-repositories
delete from repositories

-- name: add-named-blobs
insert into blobs (digest, size, refs, seen_at, stored)
select digest, 0, 0, $1, false
  from (select child as digest from manifest_refs union select digest from manifests) as named
 where not exists (select 1 from blobs b where b.digest = named.digest)

-- name: count-refs
update blobs set refs = named.refs
  from (select digest, count(*) as refs
          from (select child as digest from manifest_refs union all select digest from manifests) as each_name
         group by digest) as named
 where named.digest = blobs.digest

-- name: count-manifests
update repositories set manifests = counted.manifests
  from (select repository_id, count(*) as manifests from manifests group by repository_id) as counted
 where counted.repository_id = repositories.id

-- name: drop-unnamed-blobs
delete from blobs
 where refs = 0 and not exists (select 1 from repository_blobs rb where rb.digest = blobs.digest)

-- name: tidy (postgres)
vacuum (analyze) repositories, blobs, repository_blobs, manifests, manifest_refs, tags

-- name: all-layers
select r.name, rb.digest, b.size from repository_blobs rb
  join repositories r on r.id = rb.repository_id
  left join blobs b on b.digest = rb.digest
 order by r.name, rb.digest

-- name: all-manifests
select r.name, m.digest, m.media_type, m.payload, b.size from manifests m
  join repositories r on r.id = m.repository_id
  left join blobs b on b.digest = m.digest
 order by r.name, m.digest

-- name: all-tags
select r.name, t.name, t.digest from tags t join repositories r on r.id = t.repository_id order by r.name, t.name

-- name: all-refs
select digest, refs from blobs
 where refs > 0 or exists (select 1 from repository_blobs rb where rb.digest = blobs.digest)
 order by digest

-- Notices.

-- name: notify
insert into notices (endpoint, repository, at, event) values ($1, $2, $3, $4)

-- name: noticed-repositories
select repository from (
  with recursive noticed (repository) as (
       select min(repository) from notices where endpoint = $1 and repository > $2
        union all
       select (select min(n.repository) from notices n where n.endpoint = $1 and n.repository > noticed.repository)
         from noticed where noticed.repository is not null)
  select repository from noticed where repository is not null limit $3) as page

-- name: notices
select id, at, event from notices where endpoint = $1 and repository = $2 order by id limit $3

-- name: told
delete from notices where id = $1

-- name: noticed-endpoints
select endpoint, n, (select at from notices where id = oldest)
  from (select endpoint, count(*) as n, min(id) as oldest from notices group by endpoint) as queues

-- name: drop-notices
delete from notices
 where id in (select id from (select id, at from notices where endpoint = $1 order by id limit $3) as oldest where at < $2)
