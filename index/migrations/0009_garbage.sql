-- Blobs that nothing refers to are looked at in this order, page by page. Many may have been seen at the same time.
drop index blobs_unreferenced;
create index blobs_unreferenced on blobs (seen_at, digest) where refs = 0;
