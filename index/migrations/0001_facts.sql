-- Tokens in braces are replaced by what the database calls them; see dialect.go.
-- Digests are one byte for the algorithm and the raw sum. Times are milliseconds since 1970 in UTC.

create table repositories (
	id          {id},
	name        {text} not null unique,
	description text not null default '',
	manifests   bigint not null default 0, -- how many it holds; the catalog shows those with some
	created_at  bigint not null
);
create index repositories_catalog on repositories (name) where manifests > 0;

-- refs counts the manifests rows that a blob is the payload of and the manifest_refs that name it, in all repositories.
create table blobs (
	digest     {bytes} not null primary key,
	size       bigint not null,
	refs       bigint not null,
	seen_at    bigint not null,
	claimed_at bigint
) {without rowid};
create index blobs_unreferenced on blobs (seen_at) where refs = 0;

create table repository_blobs (
	repository_id bigint not null,
	digest        {bytes} not null,
	primary key (repository_id, digest)
) {without rowid};
create index repository_blobs_digest on repository_blobs (digest, repository_id);

create table manifests (
	repository_id bigint not null,
	digest        {bytes} not null,
	media_type    text not null,
	payload       {bytes} not null,
	subject       {bytes},
	artifact_type text not null,
	annotations   text not null, -- a JSON object, or empty
	config_digest {bytes},
	pushed_at     bigint not null,
	pulled_at     bigint,
	primary key (repository_id, digest)
);
create index manifests_subject on manifests (repository_id, subject, digest) where subject is not null;

create table manifest_refs (
	child         {bytes} not null,
	repository_id bigint not null,
	parent        {bytes} not null,
	primary key (child, repository_id, parent)
) {without rowid};
create index manifest_refs_parent on manifest_refs (repository_id, parent);

create table tags (
	repository_id bigint not null,
	name          {text} not null,
	digest        {bytes} not null,
	updated_at    bigint not null,
	primary key (repository_id, name)
) {without rowid};
create index tags_digest on tags (repository_id, digest);

-- Few at a time: expiry reads them all, so that no push has to keep an index.
create table sessions (
	id         text not null primary key,
	repository text not null,
	algorithm  text not null,
	size       bigint not null,
	hash_state {bytes},
	started_at bigint not null,
	updated_at bigint not null
) {without rowid};

create table session_parts (
	session_id text not null,
	start      bigint not null,
	name       text not null,
	primary key (session_id, start)
) {without rowid};

-- Facts that the store may not show yet: see outbox.go.
create table outbox (
	id         {id},
	repository text not null,
	kind       bigint not null,
	ref        text not null
);
