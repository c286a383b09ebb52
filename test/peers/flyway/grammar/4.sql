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
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'Create users', 'SQL', 'V1__Create_users.sql', -733506245, 'postgres', '2026-11-22 00:03:06.523046', 70, true);
INSERT INTO public.flyway_schema_history VALUES (2, '1.2', 'Underscore in the version', 'SQL', 'V1_2__Underscore_in_the_version.sql', -1151030115, 'postgres', '2026-11-22 00:03:06.833829', 26, true);
INSERT INTO public.flyway_schema_history VALUES (3, '01.3', 'Leading zero', 'SQL', 'V01.3__Leading_zero.sql', 1420216227, 'postgres', '2026-11-22 00:03:06.945115', 38, true);
INSERT INTO public.flyway_schema_history VALUES (4, '1.9', 'Nine', 'SQL', 'V1.9__Nine.sql', 1132746602, 'postgres', '2026-11-22 00:03:07.030712', 49, true);
INSERT INTO public.flyway_schema_history VALUES (5, '1.10', 'Ten', 'SQL', 'V1.10__Ten.sql', -56713639, 'postgres', '2026-11-22 00:03:07.148255', 82, true);
INSERT INTO public.flyway_schema_history VALUES (6, '2', 'Byte order mark and CRLF', 'SQL', 'V2__Byte_order_mark_and_CRLF.sql', 589796800, 'postgres', '2026-11-22 00:03:07.367557', 134, true);
INSERT INTO public.flyway_schema_history VALUES (7, '3.0.0', 'Tabs and blanks', 'SQL', 'V3.0.0__Tabs_and_blanks.sql', 1320619035, 'postgres', '2026-11-22 00:03:07.614361', 83, true);
INSERT INTO public.flyway_schema_history VALUES (8, '4', 'Old line ends', 'SQL', 'V4__Old_line_ends.sql', 625874632, 'postgres', '2026-11-22 00:03:07.804085', 37, true);
INSERT INTO public.flyway_schema_history VALUES (9, '5', 'Placeholders', 'SQL', 'V5__Placeholders.sql', -1527550253, 'postgres', '2026-11-22 00:03:07.929619', 78, true);
INSERT INTO public.flyway_schema_history VALUES (10, '6', 'Only a comment', 'SQL', 'V6__Only_a_comment.sql', 1822733853, 'postgres', '2026-11-22 00:03:08.030993', 27, true);
INSERT INTO public.flyway_schema_history VALUES (11, '6.1', 'Empty', 'SQL', 'V6.1__Empty.sql', 0, 'postgres', '2026-11-22 00:03:08.13617', 29, true);
INSERT INTO public.flyway_schema_history VALUES (12, '7', 'Ümläut 日本 😀', 'SQL', 'V7__Ümläut_日本_😀.sql', -1605257695, 'postgres', '2026-11-22 00:03:08.23107', 52, true);
INSERT INTO public.flyway_schema_history VALUES (13, '8', '', 'SQL', 'V8.sql', -1745287460, 'postgres', '2026-11-22 00:03:08.366421', 45, true);
INSERT INTO public.flyway_schema_history VALUES (14, '9', '', 'SQL', 'V9__.sql', 2017160674, 'postgres', '2026-11-22 00:03:08.476383', 89, true);
INSERT INTO public.flyway_schema_history VALUES (15, '10', 'Two  separators   here', 'SQL', 'V10__Two__separators___here.sql', -140520116, 'postgres', '2026-11-22 00:03:08.65645', 65, true);
INSERT INTO public.flyway_schema_history VALUES (16, '11', 'Upper case suffix', 'SQL', 'V11__Upper_case_suffix.SQL', 408796786, 'postgres', '2026-11-22 00:03:08.798545', 58, true);
INSERT INTO public.flyway_schema_history VALUES (17, '12', 'BOM inside', 'SQL', 'V12__BOM_inside.sql', 35497997, 'postgres', '2026-11-22 00:03:08.964446', 136, true);
INSERT INTO public.flyway_schema_history VALUES (18, '13', 'Dollar and copy', 'SQL', 'V13__Dollar_and_copy.sql', 262204430, 'postgres', '2026-11-22 00:03:09.149906', 43, true);
INSERT INTO public.flyway_schema_history VALUES (19, '19', 'Nested deeper', 'SQL', 'sub/deeper/V19__Nested_deeper.sql', 193658502, 'postgres', '2026-11-22 00:03:09.256682', 14, true);
INSERT INTO public.flyway_schema_history VALUES (20, '20', 'Nested', 'SQL', 'sub/V20__Nested.sql', 1853731661, 'postgres', '2026-11-22 00:03:09.308599', 20, true);
INSERT INTO public.flyway_schema_history VALUES (21, '20260101000000.1', 'Time', 'SQL', 'V20260101000000.1__Time.sql', -1938149070, 'postgres', '2026-11-22 00:03:09.384231', 40, true);
INSERT INTO public.flyway_schema_history VALUES (22, '99999999999999999999999999999', 'More than a bigint', 'SQL', 'V99999999999999999999999999999__More_than_a_bigint.sql', -203349712, 'postgres', '2026-11-22 00:03:09.452051', 34, true);
INSERT INTO public.flyway_schema_history VALUES (23, NULL, ' leading underscore', 'SQL', 'R___leading_underscore.sql', 78787420, 'postgres', '2026-11-22 00:03:09.547295', 39, true);
INSERT INTO public.flyway_schema_history VALUES (24, NULL, '10', 'SQL', 'R__10.sql', 914641374, 'postgres', '2026-11-22 00:03:09.625132', 18, true);
INSERT INTO public.flyway_schema_history VALUES (25, NULL, '9', 'SQL', 'R__9.sql', 2043004697, 'postgres', '2026-11-22 00:03:09.676092', 44, true);
INSERT INTO public.flyway_schema_history VALUES (26, NULL, 'B view', 'SQL', 'R__B_view.sql', 1130191397, 'postgres', '2026-11-22 00:03:09.767079', 54, true);
INSERT INTO public.flyway_schema_history VALUES (27, NULL, 'Nested', 'SQL', 'sub/R__Nested.sql', -714045419, 'postgres', '2026-11-22 00:03:09.879969', 44, true);
INSERT INTO public.flyway_schema_history VALUES (28, NULL, 'Placeholders', 'SQL', 'R__Placeholders.sql', 593907713, 'postgres', '2026-11-22 00:03:09.94175', 26, true);
INSERT INTO public.flyway_schema_history VALUES (29, NULL, 'Z', 'SQL', 'R__Z.sql', 798974111, 'postgres', '2026-11-22 00:03:09.999038', 19, true);
INSERT INTO public.flyway_schema_history VALUES (30, NULL, 'a view', 'SQL', 'R__a_view.sql', 457437965, 'postgres', '2026-11-22 00:03:10.052412', 15, true);
INSERT INTO public.flyway_schema_history VALUES (31, NULL, 'Äpfel', 'SQL', 'R__Äpfel.sql', 1625224792, 'postgres', '2026-11-22 00:03:10.095842', 14, true);
INSERT INTO public.flyway_schema_history VALUES (32, NULL, '😀', 'SQL', 'R__😀.sql', 1390974170, 'postgres', '2026-11-22 00:03:10.128171', 18, true);
INSERT INTO public.flyway_schema_history VALUES (33, NULL, 'Ａ fullwidth', 'SQL', 'R__Ａ_fullwidth.sql', 1274258843, 'postgres', '2026-11-22 00:03:10.179909', 12, true);
INSERT INTO public.flyway_schema_history VALUES (34, NULL, 'Placeholders', 'SQL', 'R__Placeholders.sql', -1578915683, 'postgres', '2026-11-22 00:03:12.627277', 16, true);
ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);
