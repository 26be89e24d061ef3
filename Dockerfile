# `make image` builds this: the archive holds /parfait, also as /usr/bin/htpasswd, and /tmp and /var/lib/registry that
# user 65532 may write to.
FROM scratch
ADD bin/rootfs.tar /
# Not STORAGE_PATH: that would be a prefix in a bucket, too. XDG_DATA_HOME is where the index of a bucket is.
ENV REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry XDG_DATA_HOME=/var/lib/registry
USER 65532:65532
VOLUME ["/var/lib/registry"]
EXPOSE 5000
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["/parfait", "healthcheck"]
ENTRYPOINT ["/parfait"]
CMD ["serve"]
