SELECT '$x';
