package metrics

// Ages are in seconds, and so are times, since 1970.

func poolFigures() []figure {
	return []figure{
		gauge("index_connections_max", "Connections to the database that there may be; of SQLite, those that look up.",
			func(r reading) float64 { return float64(r.pool.Most) }),
		gauge("index_connections_open", "Connections to the database.", func(r reading) float64 { return float64(r.pool.Open) }),
		gauge("index_connections_in_use", "Connections to the database that are in use.", func(r reading) float64 { return float64(r.pool.InUse) }),
		counter("index_connection_waits_total", "How often a connection had to be waited for.", func(r reading) float64 { return float64(r.pool.Waits) }),
		counter("index_connection_wait_seconds_total", "How long connections were waited for.", func(r reading) float64 { return r.pool.WaitTime.Seconds() }),
	}
}

func backlogFigures() []figure {
	return []figure{
		gauge("upload_sessions", "Upload sessions that are open, on all servers of the index.", func(r reading) float64 { return float64(r.backlog.Sessions) }),
		gauge("outbox_entries", "Facts of the index that the store may not show yet, on all servers of the index.",
			func(r reading) float64 { return float64(r.backlog.Outbox) }),
	}
}

func collectionFigures() []figure {
	return []figure{
		counter("collection_runs_total", "Collections of this server that found something to take away.", func(r reading) float64 { return float64(r.collection.Runs) }),
		counter("collection_manifests_total", "Untagged manifests that were taken away.", func(r reading) float64 { return float64(r.collection.Manifests) }),
		counter("collection_blobs_total", "Blobs that were taken away.", func(r reading) float64 { return float64(r.collection.Blobs) }),
		counter("collection_bytes_total", "Bytes of the blobs that were taken away.", func(r reading) float64 { return float64(r.collection.Bytes) }),
		gauge("collection_queue_blobs", "Blobs that nothing refers to, within gc_grace or not.", func(r reading) float64 { return float64(r.collection.Queue) }),
		gauge("collection_oldest_seconds", "Time since the blob of these that waits longest was seen last. It should stay below 1.25 times gc_grace.",
			func(r reading) float64 { return r.collection.Oldest.Seconds() }),
	}
}

func adoptionFigures() []figure {
	return []figure{
		gauge("adoption_under_way", "1 while this server takes over what the store had before it.", func(r reading) float64 { return truth(r.adoption.UnderWay) }),
		gauge("adoption_repositories", "Repositories that were taken over by this server.", func(r reading) float64 { return float64(r.adoption.Repositories) }),
		gauge("adoption_layers", "Layers that were taken over by this server.", func(r reading) float64 { return float64(r.adoption.Layers) }),
		gauge("adoption_manifests", "Manifests that were taken over by this server.", func(r reading) float64 { return float64(r.adoption.Manifests) }),
		gauge("adoption_tags", "Tags that were taken over by this server.", func(r reading) float64 { return float64(r.adoption.Tags) }),
		gauge("adoption_problems", "Things of the store that could not be taken over.", func(r reading) float64 { return float64(r.adoption.Problems) }),
	}
}

func verificationFigures() []figure {
	return []figure{
		gauge("verification_under_way", "1 while this server verifies the store.", func(r reading) float64 { return truth(r.verification.UnderWay) }),
		gauge("verification_blobs", "Blobs that the current or last verification of this server has read.", func(r reading) float64 { return float64(r.verification.Blobs) }),
		gauge("verification_bytes", "Bytes that it has hashed.", func(r reading) float64 { return float64(r.verification.Bytes) }),
		gauge("verification_findings", "Things that it found not to be as they should.", func(r reading) float64 { return float64(r.verification.Findings) }),
		gauge("verification_finished_timestamp_seconds", "When the last verification of this server ended; 0 if there was none.", func(r reading) float64 {
			if r.verification.Finished.IsZero() {
				return 0
			}
			return float64(r.verification.Finished.Unix())
		}),
	}
}
