import org.flywaydb.core.Flyway;

/** Real Flyway's migrate, for the benchmark: FlywayMigrate JDBC-URL DIRECTORY. */
public class FlywayMigrate {
    public static void main(String[] arguments) {
        Flyway.configure()
                .dataSource(arguments[0], "postgres", "")
                .locations("filesystem:" + arguments[1])
                .loggers("auto")
                .load()
                .migrate();
    }
}
