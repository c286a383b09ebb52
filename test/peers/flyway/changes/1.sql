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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'One', 'SQL', 'V1__One.sql', 1810640150, 'postgres', '2026-11-22 00:02:24.093404', 58, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'Two', 'SQL', 'V2__Two.sql', -2133092843, 'postgres', '2026-11-22 00:02:24.469114', 54, true);
INSERT INTO public.flyway_schema_history VALUES (3, '3', 'Three', 'SQL', 'V3__Three.sql', 1863974187, 'postgres', '2026-11-22 00:02:24.690608', 70, true);
INSERT INTO public.flyway_schema_history VALUES (4, '5', 'Five', 'SQL', 'V5__Five.sql', 1644662124, 'postgres', '2026-11-22 00:02:24.864335', 51, true);
INSERT INTO public.flyway_schema_history VALUES (5, NULL, 'a', 'SQL', 'R__a.sql', -1752130201, 'postgres', '2026-11-22 00:02:25.04299', 50, true);
INSERT INTO public.flyway_schema_history VALUES (6, NULL, 'b', 'SQL', 'R__b.sql', -1781128386, 'postgres', '2026-11-22 00:02:25.208301', 21, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
