"""From the form an answer must have to a grammar that lets nothing else through."""
