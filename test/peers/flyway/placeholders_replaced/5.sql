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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', -1966240664, 'postgres', '2026-11-22 00:03:28.811388', 13, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'b', 'SQL', 'V2__b.sql', -500526592, 'postgres', '2026-11-22 00:03:28.869284', 6, true);
INSERT INTO public.flyway_schema_history VALUES (3, NULL, 'c', 'SQL', 'R__c.sql', 1115690286, 'postgres', '2026-11-22 00:03:28.912175', 13, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
