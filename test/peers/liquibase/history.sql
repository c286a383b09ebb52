SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.databasechangelog (
    id character varying(255) NOT NULL,
    author character varying(255) NOT NULL,
    filename character varying(255) NOT NULL,
    dateexecuted timestamp without time zone NOT NULL,
    orderexecuted integer NOT NULL,
    exectype character varying(10) NOT NULL,
    md5sum character varying(35),
    description character varying(255),
    comments character varying(255),
    tag character varying(255),
    liquibase character varying(20),
    contexts character varying(255),
    labels character varying(255),
    deployment_id character varying(10)
);
CREATE TABLE public.databasechangeloglock (
    id integer NOT NULL,
    locked boolean NOT NULL,
    lockgranted timestamp without time zone,
    lockedby character varying(255)
);
INSERT INTO public.databasechangelog VALUES ('1', 'ann', 'changelog.yaml', '2026-11-22 00:20:04.062677', 1, 'EXECUTED', '9:024a07c80ccc672c998ce8a0938cd517', 'createTable tableName=person', 'The first table', NULL, '5.0.4', NULL, NULL, '5306797558');
INSERT INTO public.databasechangelog VALUES ('add-email', 'bob', 'changelog.yaml', '2026-11-22 00:20:04.131011', 2, 'EXECUTED', '9:8edd512e30787a1decf65fd466fdd71f', 'addColumn tableName=person', '', NULL, '5.0.4', '!test', 'v2', '5306797558');
INSERT INTO public.databasechangelog VALUES ('already-there', 'bob', 'changelog.yaml', '2026-11-22 00:20:04.194286', 3, 'MARK_RAN', '9:d616c98d9b718f1bc983f329a7f1fea8', 'createTable tableName=person', '', NULL, '5.0.4', NULL, NULL, '5306797558');
INSERT INTO public.databasechangelog VALUES ('größe', 'Ümit', 'more.sql', '2026-11-22 00:20:04.262313', 4, 'EXECUTED', '9:be81ac6741a018f04cfa46758d8d63af', 'sql', '', NULL, '5.0.4', NULL, 'v2', '5306797558');
INSERT INTO public.databasechangelog VALUES ('index', 'bob', 'more.sql', '2026-11-22 00:20:04.350191', 5, 'EXECUTED', '9:d8837cf8fc07091085f17667a22b54ac', 'sql', '', NULL, '5.0.4', NULL, NULL, '5306797558');
INSERT INTO public.databasechangelog VALUES ('view', 'ann', 'changelog.yaml', '2026-11-22 00:20:04.470574', 7, 'EXECUTED', '9:914ba4a1f359fea268528023e2f12956', 'createView viewName=people', '', NULL, '5.0.4', NULL, NULL, '5306797558');
INSERT INTO public.databasechangelog VALUES ('tag', 'ann', 'changelog.yaml', '2026-11-22 00:20:04.504219', 8, 'EXECUTED', '9:0e168e454a6ef54906a74eebca3b75d2', 'tagDatabase', '', '1.0', '5.0.4', NULL, NULL, '5306797558');
INSERT INTO public.databasechangelog VALUES ('function', 'bob', 'more.sql', '2026-11-22 00:20:11.057091', 9, 'RERAN', '9:b47440d21ba11a0ecd7d44da2149bb73', 'sql', '', NULL, '5.0.4', NULL, NULL, '5306805551');
INSERT INTO public.databasechangeloglock VALUES (1, false, NULL, NULL);
ALTER TABLE ONLY public.databasechangeloglock
    ADD CONSTRAINT databasechangeloglock_pkey PRIMARY KEY (id);
