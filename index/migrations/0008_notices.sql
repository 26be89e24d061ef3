-- What clients have done and endpoints have not been told yet: see notice.go.
create table notices (
	id         {id used once},
	endpoint   text not null,
	repository {text} not null,
	at         bigint not null,
	event      {bytes} not null
);
create index notices_order on notices (endpoint, repository, id);
