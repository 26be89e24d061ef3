-- name: begin
begin immediate

-- name: commit
commit

-- name: rollback
rollback

-- name: blob
select b.size
  from repositories r
  join repository_blobs rb on rb.repository_id = r.id
  join blobs b on b.digest = rb.digest
 where r.name = $1 and rb.digest = $2

-- name: repository-id
select id from repositories where name = $1

-- name: insert-repository
insert into repositories (name, created_at) values ($1, $2) returning id

-- name: insert-blob
insert into blobs (digest, size, refs, seen_at)
values ($1, $2, (select count(*) from manifest_refs where child = $1), $3)
    on conflict (digest) do update set seen_at = excluded.seen_at, claimed_at = null

-- name: link-blob
insert into repository_blobs (repository_id, digest) values ($1, $2) on conflict do nothing

-- name: unlink-blob
delete from repository_blobs where repository_id = $1 and digest = $2

-- name: see-blob
update blobs set seen_at = $2, claimed_at = null where digest = $1

-- name: blob-size
select size from blobs where digest = $1

-- name: blob-linked-anywhere
select b.size from blobs b
 where b.digest = $1 and exists (select 1 from repository_blobs rb where rb.digest = b.digest)

-- name: blob-repositories
select r.name
  from repository_blobs rb
  join repositories r on r.id = rb.repository_id
 where rb.digest = $1
 order by rb.repository_id
 limit $2

-- name: add-refs
update blobs set refs = refs + $2 where digest = $1

-- name: parent
select parent from manifest_refs where child = $1 and repository_id = $2 limit 1

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
select 1 from repository_blobs where repository_id = $1 and digest = $2

-- name: has-manifest
select 1 from manifests where repository_id = $1 and digest = $2

-- name: annotations
select annotations from manifests where repository_id = $1 and digest = $2

-- name: insert-manifest
insert into manifests (repository_id, digest, media_type, payload, subject, artifact_type, annotations, config_digest, pushed_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: touch-manifest
update manifests set media_type = $3, artifact_type = $4, pushed_at = $5 where repository_id = $1 and digest = $2

-- name: delete-manifest
delete from manifests where repository_id = $1 and digest = $2

-- name: insert-ref
insert into manifest_refs (child, repository_id, parent) values ($1, $2, $3) on conflict do nothing

-- name: children
select child from manifest_refs where repository_id = $1 and parent = $2

-- name: delete-refs
delete from manifest_refs where repository_id = $1 and parent = $2

-- name: count-manifest
update repositories set manifests = manifests + $2 where id = $1

-- name: describe
update repositories set description = $2 where id = $1

-- name: put-tag
insert into tags (repository_id, name, digest, updated_at) values ($1, $2, $3, $4)
    on conflict (repository_id, name) do update set digest = excluded.digest, updated_at = excluded.updated_at

-- name: delete-tag
delete from tags where repository_id = $1 and name = $2

-- name: tags-of-manifest
select name from tags where repository_id = $1 and digest = $2

-- name: tag
select t.digest from repositories r join tags t on t.repository_id = r.id where r.name = $1 and t.name = $2

-- name: tags
select t.name
  from repositories r
  left join tags t on t.repository_id = r.id and t.name > $2
 where r.name = $1
 order by t.name
 limit $3

-- name: repositories
select name from repositories where manifests > 0 and name > $1 order by name limit $2

-- name: referrers
select m.digest, m.media_type, length(m.payload), m.artifact_type, m.annotations
  from repositories r
  join manifests m on m.repository_id = r.id
 where r.name = $1 and m.subject = $2 and m.digest > $4 and ($3 = '' or m.artifact_type = $3)
 order by m.digest
 limit $5

-- name: search
select name, description, count(*) over ()
  from repositories
 where manifests > 0 and (lower(name) like $1 escape '\' or lower(description) like $1 escape '\')
 order by name
 limit $2 offset $3

-- name: insert-session
insert into sessions (id, repository, algorithm, size, started_at, updated_at) values ($1, $2, $3, 0, $4, $4)

-- name: session
select s.repository, s.algorithm, s.size, s.hash_state, s.started_at, b.size
  from sessions s
  left join blobs b on b.digest = $2 and exists (select 1 from repository_blobs rb where rb.digest = b.digest)
 where s.id = $1

-- name: session-parts
select s.repository, s.algorithm, s.size, s.hash_state, s.started_at, b.size, p.name
  from sessions s
  left join blobs b on b.digest = $2 and exists (select 1 from repository_blobs rb where rb.digest = b.digest)
  left join session_parts p on p.session_id = s.id
 where s.id = $1
 order by p.start

-- name: grow-session
update sessions set size = $3, hash_state = $4, updated_at = $5 where id = $1 and size = $2

-- name: insert-part
insert into session_parts (session_id, start, name) values ($1, $2, $3)

-- name: delete-session
delete from sessions where id = $1 and size = $2

-- name: delete-parts
delete from session_parts where session_id = $1

-- name: expired-sessions
select id, repository, size from sessions where updated_at < $1 order by updated_at limit $2

-- name: post
insert into outbox (repository, kind, ref) values ($1, $2, $3) returning id

-- name: outbox
select id, repository, kind, ref from outbox where id > $1 order by id limit $2

-- name: settle
delete from outbox where id = $1

-- name: signing-keys
select id, key from signing_keys

-- name: insert-signing-key
insert into signing_keys (id, key, made_at) values ($1, $2, $3) on conflict do nothing

-- name: delete-signing-key
delete from signing_keys where id = $1

-- name: is-empty
select not exists (select 1 from repositories)

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

-- name: drop-unnamed-blobs
delete from blobs
 where refs = 0 and not exists (select 1 from repository_blobs rb where rb.digest = blobs.digest)

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
