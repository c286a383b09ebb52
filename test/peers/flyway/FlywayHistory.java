import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.FlywayException;
import org.flywaydb.core.api.MigrationInfo;
import org.flywaydb.core.api.configuration.FluentConfiguration;
import org.flywaydb.core.api.output.ValidateResult;
import org.flywaydb.database.postgresql.PostgreSQLConfigurationExtension;

/**
 * What real Flyway does with the directories of a case: FlywayHistory CASE JDBC-URL, in the case's folder. Executes the
 * lines of the file "steps" (COMMAND DIRECTORY [SETTING=VALUE...]) and writes expected.json, a line a step, and
 * STEP.sql, the history after it, as pg_dump gives it, when it has changed.
 */
public class FlywayHistory {
    private static String lastDump = "";

    public static void main(String[] arguments) throws Exception {
        Path place = Path.of(arguments[0]);
        List<String> lines = new ArrayList<>();
        int number = 0;
        for (String line : Files.readAllLines(place.resolve("steps"))) {
            if (line.isBlank() || line.startsWith("#")) {
                continue;
            }
            String step = step(place, arguments[1], ++number, line.trim().split("\\s+"));
            lines.add(step + ", \"said\": " + said(arguments[1]) + "}");
            dump(place, arguments[1], number);
        }
        Files.writeString(place.resolve("expected.json"), String.join("\n", lines) + "\n");
    }

    private static String step(Path place, String url, int number, String[] words) {
        Map<String, String> settings = new HashMap<>();
        FluentConfiguration configuration = Flyway.configure();
        for (int i = 2; i < words.length; ++i) {
            int equal = words[i].indexOf('=');
            if (words[i].equals("transactionalLock=false")) {
                configuration.getConfigurationExtension(PostgreSQLConfigurationExtension.class).setTransactionalLock(false);
                continue;
            }
            settings.put("flyway." + words[i].substring(0, equal), words[i].substring(equal + 1));
        }
        Flyway flyway = configuration
                .dataSource(url, "postgres", "")
                .locations("filesystem:" + place.resolve(words[1]))
                .loggers("auto")
                .configuration(settings)
                .load();
        return "{\"step\": " + number + ", \"before\": " + infos(flyway) + ", \"problems\": " + problems(flyway)
                + ", \"result\": " + run(flyway, words[0]) + ", \"after\": " + infos(flyway);
    }

    private static String run(Flyway flyway, String command) {
        List<String> done = new ArrayList<>();
        try {
            switch (command) {
                case "migrate" -> flyway.migrate().migrations.forEach(m -> done.add(quoted(m.version + " " + m.description)));
                case "repair" -> flyway.repair();
                case "baseline" -> flyway.baseline();
                case "info" -> { }
                default -> throw new IllegalArgumentException(command);
            }
        } catch (FlywayException error) {
            return "{\"error\": " + quoted(error.getClass().getSimpleName()) + "}";
        }
        return "{\"done\": [" + String.join(", ", done) + "]}";
    }

    private static String infos(Flyway flyway) {
        MigrationInfo[] all;
        try {
            all = flyway.info().all();
        } catch (FlywayException error) {
            return "{\"error\": " + quoted(error.getClass().getSimpleName()) + "}";
        }
        List<String> found = new ArrayList<>();
        for (MigrationInfo info : all) {
            found.add("\n  {\"version\": " + quoted(info.getVersion() == null ? "" : info.getVersion().getVersion())
                    + ", \"description\": " + quoted(info.getDescription())
                    + ", \"type\": " + quoted(info.getType().name())
                    + ", \"script\": " + quoted(info.getScript())
                    + ", \"checksum\": " + info.getChecksum()
                                       + ", \"state\": " + quoted(info.getState().getDisplayName()) + "}");
        }
        return "[" + String.join(",", found) + "]";
    }

    private static String problems(Flyway flyway) {
        ValidateResult result;
        try {
            result = flyway.validateWithResult();
        } catch (FlywayException error) {
            return "{\"error\": " + quoted(error.getClass().getSimpleName()) + "}";
        }
        List<String> found = new ArrayList<>();
        result.invalidMigrations.forEach(
                m -> found.add(quoted(m.version + " " + m.description + ": " + m.errorDetails.errorCode)));
        if (found.isEmpty() && !result.validationSuccessful) {
            found.add(quoted(String.valueOf(result.errorDetails.errorCode)));
        }
        return "[" + String.join(", ", found) + "]";
    }

    private static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        text.chars().forEach(c -> json.append(c == '"' || c == '\\' ? "\\" + (char) c : c < 32 ? String.format("\\u%04x", c) : "" + (char) c));
        return json.append('"').toString();
    }

    /** What migrations have put into the table "said", if there is one. */
    private static String said(String url) throws Exception {
        List<String> found = new ArrayList<>();
        try (Connection connection = DriverManager.getConnection(url, "postgres", "");
                ResultSet rows = connection.createStatement().executeQuery("SELECT number || ' ' || what FROM said ORDER BY number")) {
            while (rows.next()) {
                found.add(quoted(rows.getString(1)));
            }
        } catch (SQLException error) {
            if (!error.getSQLState().equals("42P01")) {
                throw error;
            }
        }
        return "[" + String.join(", ", found) + "]";
    }

    private static void dump(Path place, String url, int number) throws Exception {
        String database = url.substring(url.lastIndexOf('/') + 1).replaceAll("\\?.*", "");
        Process pgDump = new ProcessBuilder("pg_dump", "--no-owner", "--inserts", "-t", "flyway_schema_history", "-d", database)
                .redirectErrorStream(true).start();
        String text = new String(pgDump.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        text = text.replaceAll("(?m)^(\\\\(un)?restrict .*|--.*|SET .*)?\\n", "");
        if (pgDump.waitFor() == 0 && !text.equals(lastDump)) { // else there is none yet, or nothing has changed
            Files.writeString(place.resolve(number + ".sql"), text);
            lastDump = text;
        }
    }
}
