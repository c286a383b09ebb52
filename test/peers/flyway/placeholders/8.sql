SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.flyway_schema_history (
    installed_rank integer NOT NULL,
    version character varying(50),
    description character varying(200) NOT NULL,
    type character varying(20) NOT NULL,
    script character varying(1000) NOT NULL,
    checksum integer,
    installed_by character varying(100) NOT NULL,
    installed_on timestamp without time zone DEFAULT now() NOT NULL,
    execution_time integer NOT NULL,
    success boolean NOT NULL
);
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', -1710649929, 'postgres', '2026-11-22 00:03:23.625103', 7, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'b', 'SQL', 'V2__b.sql', 987154608, 'postgres', '2026-11-22 00:03:23.673194', 5, true);
INSERT INTO public.flyway_schema_history VALUES (3, '3', 'c', 'SQL', 'V3__c.sql', -1884996836, 'postgres', '2026-11-22 00:03:23.687791', 4, true);
INSERT INTO public.flyway_schema_history VALUES (4, NULL, 'none', 'SQL', 'R__none.sql', -1659503088, 'postgres', '2026-11-22 00:03:23.699731', 4, true);
INSERT INTO public.flyway_schema_history VALUES (5, NULL, 'r', 'SQL', 'R__r.sql', -80956457, 'postgres', '2026-11-22 00:03:23.713052', 2, true);
INSERT INTO public.flyway_schema_history VALUES (6, NULL, 'r', 'SQL', 'R__r.sql', -110490226, 'postgres', '2026-11-22 00:03:24.892117', 1, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
