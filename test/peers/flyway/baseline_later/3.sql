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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'One', 'SQL', 'V1__One.sql', 1810640150, 'postgres', '2026-11-22 00:02:01.667508', 41, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'Two', 'SQL', 'V2__Two.sql', -2133092843, 'postgres', '2026-11-22 00:02:01.993115', 52, true);
INSERT INTO public.flyway_schema_history VALUES (3, '3', 'Three', 'SQL', 'V3__Three.sql', 1863974187, 'postgres', '2026-11-22 00:02:05.247115', 51, true);
INSERT INTO public.flyway_schema_history VALUES (4, '4', 'Four', 'SQL', 'V4__Four.sql', -1916410286, 'postgres', '2026-11-22 00:02:05.438747', 49, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
