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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'One', 'SQL', 'V1__One.sql', 1810640150, 'postgres', '2026-11-22 00:03:38.684537', 31, true);
INSERT INTO public.flyway_schema_history VALUES (2, '1.1', 'More', 'SQL', 'V1.1__More.sql', 1347622814, 'postgres', '2026-11-22 00:03:39.021275', 27, true);
INSERT INTO public.flyway_schema_history VALUES (3, NULL, 'r', 'SQL', 'R__r.sql', 78787420, 'postgres', '2026-11-22 00:03:39.170676', 41, true);
INSERT INTO public.flyway_schema_history VALUES (4, '2', 'Two', 'SQL', 'V2__Two.sql', -2133092843, 'postgres', '2026-11-22 00:03:42.891553', 38, true);
INSERT INTO public.flyway_schema_history VALUES (5, '2.0.1', 'Little', 'SQL', 'V2.0.1__Little.sql', -2101244316, 'postgres', '2026-11-22 00:03:46.22047', 48, true);
INSERT INTO public.flyway_schema_history VALUES (6, '10', 'Ten', 'SQL', 'V10__Ten.sql', -140520116, 'postgres', '2026-11-22 00:03:48.953521', 23, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
