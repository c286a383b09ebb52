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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'One', 'SQL', 'V1__One.sql', 1810640150, 'postgres', '2026-11-22 00:03:30.566014', 7, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'Two', 'SQL', 'V2__Two.sql', -2133092843, 'postgres', '2026-11-22 00:03:30.616215', 3, true);
INSERT INTO public.flyway_schema_history VALUES (3, NULL, 'r', 'SQL', 'R__r.sql', 78787420, 'postgres', '2026-11-22 00:03:30.637102', 9, true);
INSERT INTO public.flyway_schema_history VALUES (4, '2', 'Two', 'DELETE', 'V2__Two.sql', -2133092843, 'postgres', '2026-11-22 00:03:31.045242', 0, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
