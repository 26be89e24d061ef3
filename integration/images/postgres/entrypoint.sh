#!/bin/sh
# Makes the cluster at the first start, with the database $POSTGRES_DB and the user postgres, whose password
# $POSTGRES_PASSWORD is, and runs PostgreSQL. The folder gets its name when all is in it.
set -eu

new=$PGDATA.new
if [ ! -e "$PGDATA" ]; then
	rm -rf "$new"
	initdb --pgdata "$new" --username postgres --pwfile /dev/stdin --auth-local trust --auth-host scram-sha-256 \
		--encoding UTF8 --locale C <<-END
		$POSTGRES_PASSWORD
	END
	echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
	if [ "$POSTGRES_DB" != postgres ]; then
		echo "create database \"$POSTGRES_DB\"" | postgres --single -D "$new" postgres
	fi
	mv "$new" "$PGDATA"
fi
exec postgres -D "$PGDATA" "$@"
