"""The durable partitioned log that everything travels on."""
